"""What others saved, read without running its code: zips of any version, rl-zoo's folders, pickles."""
