"""Kedro datasets that kedro-datasets does not have."""

from ratchet.datasets.charts import ImagesDataset, VegaLiteDataset
from ratchet.datasets.demand_book import DemandBookDataset
from ratchet.datasets.folder import FolderDataset
from ratchet.datasets.measurements import MeasurementsDataset
from ratchet.datasets.prediction_log import PredictionLogDataset
from ratchet.datasets.raw import RawDataset
from ratchet.datasets.registry import RegistryDataset
from ratchet.datasets.run import RunDataset
from ratchet.datasets.search_cache import SearchCacheDataset
from ratchet.datasets.skops import SkopsDataset
from ratchet.datasets.sqlite import SQLiteQueryDataset

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
    "VegaLiteDataset",
]
