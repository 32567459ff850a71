"""Images in files and folders: found, read, put upright, eight bits per channel, RGB on white."""
