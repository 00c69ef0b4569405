"""What the hot paths cost, beside the plain way of writing them: `geopurify bench`."""
