"""What plugins are asked, who asks, and the answers that come along."""
