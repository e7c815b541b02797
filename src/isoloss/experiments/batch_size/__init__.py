"""What studies of the batch size share: scans, theory, tasks, and the pages they leave."""
