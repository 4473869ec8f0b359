"""Models, metrics, features and searches; independent of use cases, Kedro, MLflow and Airflow."""
