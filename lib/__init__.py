"""A thin layer over Theano: operations, layers, training, evaluation, sampling."""
