"""Many photos in, their results out, with a record of each and a page to review them."""
