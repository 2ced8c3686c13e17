"""Every option of every command: names, defaults, meanings and what they may be."""
