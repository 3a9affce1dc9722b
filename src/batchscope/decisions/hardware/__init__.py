"""What training would take on devices that one may not have."""
