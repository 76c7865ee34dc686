"""The models on sale, what they cost and when. Pure: reads nothing but its own packaged files."""
