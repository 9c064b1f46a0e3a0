"""ONNX graphs of any kind, which onnxruntime runs."""
