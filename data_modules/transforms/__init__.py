"""What is done to the pixels of a clip: crops, augmentations, mixing."""
