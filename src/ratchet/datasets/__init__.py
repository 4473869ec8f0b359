"""Kedro datasets that kedro-datasets does not have."""

from ratchet.datasets.charts import ImagesDataset, VegaLiteDataset
from ratchet.datasets.folders import FolderDataset, SearchCacheDataset
from ratchet.datasets.models import DemandBookDataset, SkopsDataset
from ratchet.datasets.raw import RawDataset, SQLiteQueryDataset
from ratchet.datasets.stores import (
    MeasurementsDataset,
    PredictionLogDataset,
    RegistryDataset,
    RunDataset,
)
from ratchet.datasets.tables import TableDataset

__all__ = [
    "DemandBookDataset",
    "FolderDataset",
    "ImagesDataset",
    "MeasurementsDataset",
    "PredictionLogDataset",
    "RawDataset",
    "RegistryDataset",
    "RunDataset",
    "SQLiteQueryDataset",
    "SearchCacheDataset",
    "SkopsDataset",
    "TableDataset",
    "VegaLiteDataset",
]
