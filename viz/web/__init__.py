"""The viewer in a browser: what knows both networks and pages."""
