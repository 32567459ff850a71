"""Pictures in files and folders: found, read, put upright, eight bits a channel, RGB on white."""
