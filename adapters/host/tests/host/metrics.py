"""Parses pages of metrics with prometheus_client and prints every sample as JSON."""

import json
import sys

from prometheus_client.parser import text_string_to_metric_families

samples = []
for page in json.load(sys.stdin):
    families = list(text_string_to_metric_families(page))
    names = [family.name for family in families]
    assert len(names) == len(set(names)), f"a metric stands in two places: {names}"
    found = []
    for family in families:
        assert family.documentation, f"{family.name} has no help"
        assert family.type in ("counter", "gauge", "histogram"), f"{family.name} is {family.type}"
        keys = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
        assert len(keys) == len(set(keys)), f"{family.name} has a sample twice"
        if family.type == "histogram":
            below = {}
            for sample in family.samples:
                if sample.name.endswith("_bucket"):
                    labels = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
                    bound = float(sample.labels["le"])
                    assert below.get(labels, (-1.0, -1.0)) < (bound, sample.value + 0.5), f"{family.name} falls"
                    below[labels] = (bound, sample.value)
        found += [[sample.name, sample.labels, sample.value] for sample in family.samples]
    samples.append(found)
json.dump(samples, sys.stdout)
