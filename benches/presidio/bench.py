"""Runs Presidio's pattern recognizers over paragraphs: `bench.py TEXTS.json` with {"name": ["paragraph", ...]}.

No language model: each recognizer's own `analyze`, without NLP artifacts, so context words do not raise a score. Prints a JSON line
for each text and set of recognizers; `findings` are those of score 0.5 and more, seconds are those of this process on a core.
"""

import inspect
import json
import logging
import sys
import time

logging.disable(logging.CRITICAL)

from presidio_analyzer import PatternRecognizer, predefined_recognizers  # noqa: E402

WORK_SECONDS_MAX = 40.0
SCORE_MIN = 0.5


def recognizers():
    """Makes one of every pattern recognizer that Presidio ships."""
    made = []
    for name in sorted(dir(predefined_recognizers)):
        kind = getattr(predefined_recognizers, name)
        if inspect.isclass(kind) and issubclass(kind, PatternRecognizer) and kind is not PatternRecognizer:
            made.append(kind())
    return made


def results_of(paragraph, chosen):
    found = []
    for recognizer in chosen:
        found.extend(recognizer.analyze(paragraph, recognizer.supported_entities, None) or [])
    return found


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        texts = json.load(file)
    every = recognizers()
    sets = {"English": [one for one in every if one.supported_language == "en"], "every language": every}
    for set_name, chosen in sets.items():
        for text_name, paragraphs in texts.items():
            # Expressions are compiled at their first use.
            results_of(paragraphs[0], chosen)
            size, strong, found, read = 0, 0, 0, 0
            begun = time.process_time()
            for paragraph in paragraphs:
                results = results_of(paragraph, chosen)
                found += len(results)
                strong += sum(result.score >= SCORE_MIN for result in results)
                size += len(paragraph.encode())
                read += 1
                if time.process_time() - begun > WORK_SECONDS_MAX:
                    break
            seconds = time.process_time() - begun
            print(
                json.dumps(
                    {
                        "text": text_name,
                        "set": set_name,
                        "bytes": size,
                        "seconds": seconds,
                        "findings": strong,
                        "all_findings": found,
                        "recognizers": len(chosen),
                        "whole": read == len(paragraphs),
                    }
                ),
                flush=True,
            )


main()
