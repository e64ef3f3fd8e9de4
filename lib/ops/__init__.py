"""Operations: functions from Theano expressions to Theano expressions, the heavy ones with C++ inside (``c/``)."""
