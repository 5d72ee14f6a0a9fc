"""What stands beside the transfers in a Dag: lists of what there is to push, and asset events."""
