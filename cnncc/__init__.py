"""cnncc: a compiler for convolutional neural networks."""
