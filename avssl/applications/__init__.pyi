from .detection import auroc as auroc
