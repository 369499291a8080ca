"""Groups of alike videos without labels: clusters, what is in them, and near duplicates."""
