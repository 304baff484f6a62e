"""K-means' passes over CSR rows: a row costs its non-zeros times the clusters."""
