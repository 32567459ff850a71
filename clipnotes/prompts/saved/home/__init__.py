"""Programs that go with an export: each is copied into its folder and needs no clipnotes there."""
