"""Turn features into class scores, and embeddings of sentences and videos into similarities."""
