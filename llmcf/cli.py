"""The `llmcf` command. One verb, three callers: an Airflow task, an analyst and CI run the same `llmcf <verb>`.

Each verb only parses, calls one function of its stage and prints the result; heavy libraries load inside the verbs.
"""

import errno
import os
import sys
from pathlib import Path

from core import processor, settings
from core.errors import LlmcfError, UsageError
from llmcf.verbs import (
    compare,
    data,
    indexes,
    language,
    lineage,
    monitoring,
    releases,
    reports,
    service,
    serving,
    stages,
    texts,
    workspaces,
)
from llmcf.verbs.groups import group

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)

app = group("LLM-CF: large language models enhanced collaborative filtering, from raw data to served recommendations.")
for name, verbs in {
    "data": data.data,
    "features": data.features,
    "audit": data.audit,
    "llm": language.llm,
    "recgen": language.recgen,
    "cot": texts.cot,
    "kar": texts.kar,
    "rank": stages.rank,
    "retrieve": stages.retrieve,
    "backfill": reports.backfill,
    "report": reports.report,
    "release": releases.release,
    "index": indexes.index,
    "lineage": lineage.lineage,
    "key": service.key,
    "rules": service.rules,
    "arms": service.arms,
    "dag": serving.dag,
    "workspace": workspaces.workspaces,
}.items():
    app.add_typer(verbs, name=name)
for name, verb in {
    "monitor": monitoring.monitor,
    "export": releases.export_release,
    "serve": serving.serve,
    "recommend": serving.recommend,
    "demo": serving.demo,
    "compare": compare.compare,
}.items():
    app.command(name)(verb)


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2, never a traceback."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' bars; ours are core.progress
    processor.rest_idle_threads()
    try:
        app()
    except LlmcfError as error:
        print(f"llmcf: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("llmcf: interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if (said := _of_the_disk(error)) is None:
            raise
        print(f"llmcf: {said}", file=sys.stderr)
        long = isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG
        sys.exit(UsageError.exit_code if long else LlmcfError.exit_code)


def _of_the_disk(error: Exception) -> str | None:
    """What to say of a full disk, a name that no disk takes, a file of ours that may not be used; None of any other."""
    from core.storage import says_full  # it imports Arrow

    if says_full(error):
        return f"the disk is full ({getattr(error, 'filename', None) or 'a scratch file'}); make room and run again"
    if not isinstance(error, OSError):
        return None
    if error.errno == errno.ENAMETOOLONG:
        return f"{str(error.filename)[:80]!r}... is longer than the name of a file may be; give a shorter one"
    if error.errno not in _REFUSED or not isinstance(error.filename, str):
        return None
    for variable, folder in settings.places().items():
        if Path(error.filename).is_relative_to(folder):
            return f"{error.filename} cannot be used ({error.strerror}); mend it, or name another folder by {variable}"
    return None
