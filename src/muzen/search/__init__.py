"""Planning with a learned model: Gumbel MuZero and MuZero's pUCT on batches of trees."""

from muzen.search.api import search
from muzen.search.gumbel import Gumbel
from muzen.search.puct import Puct
from muzen.search.reuse import joined, reuse
from muzen.search.tree import children, principal_variation

__all__ = ["Gumbel", "Puct", "children", "joined", "principal_variation", "reuse", "search"]
