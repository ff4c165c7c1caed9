"""What wearables and their applications export."""
