"""What the seeding of CSR rows compares them with."""
