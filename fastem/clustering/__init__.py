"""K-means and K-medians: the models, their starts, the estimators around them."""
