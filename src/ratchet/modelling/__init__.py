"""From features to fitted candidates, without Kedro: scaling, calibration, refitting, choice."""
