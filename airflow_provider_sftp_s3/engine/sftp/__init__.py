"""The SFTP side: connection, protocol, session, and the files on it. It knows nothing of S3."""
