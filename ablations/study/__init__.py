"""What is trained, what it gave, and the folder that keeps both."""
