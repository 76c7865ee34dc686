"""Whole stories, as a user lives them: from an SDK's call to a booked won."""
