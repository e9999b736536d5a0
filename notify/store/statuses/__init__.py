"""SQL of statuses: published, applied, listed, retried and cancelled by hand."""
