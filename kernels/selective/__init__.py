"""The selective scan: diagonal states whose step sizes the input sets."""
