"""What every recipe shares: one resumable loop."""
