"""What a finished run says: tables for the terminal and markdown, one self-contained HTML page."""
