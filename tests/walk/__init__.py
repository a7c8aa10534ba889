"""Walk through the dashboard in a real Chromium like a user: `python -m tests.walk FOLDER`."""
