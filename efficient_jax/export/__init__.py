"""Trained stages as files that other programs run: safetensors of timm, StableHLO, ONNX."""
