"""How request bodies come in: inflated, bounded, in memory or on disk, forms taken apart."""
