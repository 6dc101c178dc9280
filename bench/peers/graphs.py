"""CUDA graphs of a peer's work."""
import torch


def own_generator(device):
    """For inputs: PyTorch's own generator cannot be drawn from after a capture that failed."""
    return torch.Generator(device).manual_seed(1)


def captured(step):
    """`step` as a replay of its CUDA graph; warmed up beside the current stream, as PyTorch asks for."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay
