"""What a person looks at: contact sheets, progress, summaries."""
