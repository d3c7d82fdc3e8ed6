"""Looking at a data set, beyond what training needs."""
