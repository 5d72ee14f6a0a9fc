"""The S3 side: requests, uploads, and what is kept in a bucket. It knows nothing of SFTP."""
