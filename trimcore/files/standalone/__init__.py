"""Scripts that are copied beside an export. They need PyTorch or ONNX Runtime alone: none of them imports trimcore."""
