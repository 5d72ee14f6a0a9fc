"""The same work, done by this project and by what a user would pick instead, side by side: see README.md."""
