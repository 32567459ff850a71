"""Who calls whom in a model, with which named arguments: the call chain of any torch module.

Reading a model's source shows what could be passed. The call chain shows what was: that
``CLIPTextEmbeddings.forward`` takes ``inputs_embeds``, say, and that no caller hands it on.
"""

from clipnotes.trace.calls import Call, Trace, Value
from clipnotes.trace.notes import Notes
from clipnotes.trace.record import trace

__all__ = ["Call", "Notes", "Trace", "Value", "trace"]
