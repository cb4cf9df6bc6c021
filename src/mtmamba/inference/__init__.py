"""From a trained model to what people use: predictions, pictures, files."""
