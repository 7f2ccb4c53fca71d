// The board: cells are buttons, arrow keys move between them, a move is one cell or two.

const CHESS = { k: "♚", q: "♛", r: "♜", b: "♝", n: "♞", p: "♟" };
const MARKS = { x: "×", o: "○" };

let selected = null; // the cell whose piece is to be moved, as "row,column"
let focused = "0,0";

export function surface(board) {
  if (board.drops) return "rack";
  if (board.style === "points") return "wood";
  if (board.style === "marks") return "paper";
  if (board.style === "numbers") return "tray";
  if (board.slanted) return "hexes";
  return board.style === "chess" || board.moves_pieces ? "checkered" : "felt";
}

// Draws the board; onMove(actions) is called with every action that the chosen cells stand for.
export function drawBoard(element, board, { playable, onMove, thoughts, names, turned }) {
  const rows = board.cells.length, columns = board.cells[0].length;
  const had = element.contains(document.activeElement);
  element.textContent = "";
  element.className = `board ${surface(board)}`;
  element.style.setProperty("--columns", columns);
  element.style.setProperty("--rows", rows);
  element.style.setProperty("--slant", board.slanted ? rows - 1 : 0);
  const moves = playable ? reachable(board) : new Map();
  if (selected !== null && !moves.has(selected)) selected = null;
  const targets = selected === null ? targetsOf(moves) : moves.get(selected).targets;
  const sources = new Set([...moves].filter(([, move]) => move.moved).map(([key]) => key));
  const last = new Set(board.last.map(String));

  const across = order(columns, turned);
  element.dataset.turned = turned ? "1" : "";
  if (board.column_labels.length) element.append(labels(board, across));
  for (const r of order(rows, turned)) {
    const line = document.createElement("div");
    line.setAttribute("role", "row");
    line.className = "line";
    line.style.setProperty("--row", r);
    const label = document.createElement("span");
    label.className = "row-label";
    label.textContent = board.row_labels[r] ?? "";
    line.append(label);
    for (const c of across) {
      const key = `${r},${c}`;
      const cell = document.createElement("button");
      cell.type = "button";
      cell.setAttribute("role", "gridcell");
      cell.dataset.cell = key;
      cell.className = `cell ${(r + c) % 2 ? "odd" : "even"} ${edges(r, c, rows, columns)}`;
      cell.tabIndex = key === focused ? 0 : -1;
      const piece = board.cells[r][c];
      if (piece) cell.append(drawPiece(board, piece));
      if (last.has(key)) cell.classList.add("last");
      if (targets.has(key)) cell.classList.add("target");
      if (sources.has(key)) cell.classList.add("source");
      if (key === selected) cell.classList.add("selected");
      const can = targets.has(key) || sources.has(key);
      cell.setAttribute("aria-disabled", String(!can));
      cell.setAttribute("aria-label", describe(board, r, c, piece, targets.has(key), key === selected));
      if (targets.has(key)) cell.title = targets.get(key).map((action) => names.get(action)).join(", ");
      cell.addEventListener("click", () => choose(element, board, key, targets, sources, onMove, { playable, onMove, thoughts, names, turned }));
      line.append(cell);
    }
    element.append(line);
  }
  if (thoughts) markThoughts(element, board, thoughts);
  if (!element.querySelector("[tabindex='0']")) element.querySelector(".cell").tabIndex = 0;
  if (had) element.querySelector("[tabindex='0']").focus();
}

export function unselect() { selected = null; }

function choose(element, board, key, targets, sources, onMove, options) {
  focused = key;
  if (targets.has(key)) {
    selected = null;
    onMove(targets.get(key));
  } else {
    selected = sources.has(key) && selected !== key ? key : null;
    drawBoard(element, board, options);
    element.querySelector(`[data-cell="${key}"]`).focus();
  }
}

// From each cell that a move begins with: the cells that it can end on, and by which actions.
function reachable(board) {
  const found = new Map();
  for (const [action, [source, target]] of Object.entries(board.touched)) {
    const from = source === null ? "" : String(source);
    if (!found.has(from)) found.set(from, { moved: source !== null, targets: new Map() });
    const cells = board.drops ? board.cells.map((_, r) => `${r},${target[1]}`) : [String(target)];
    for (const cell of cells) {
      const targets = found.get(from).targets;
      targets.set(cell, [...(targets.get(cell) ?? []), Number(action)]);
    }
  }
  return found;
}

function targetsOf(moves) { return moves.get("")?.targets ?? new Map(); }

function order(count, turned) {
  const found = [...Array(count).keys()];
  return turned ? found.reverse() : found;
}

function labels(board, across) {
  const line = document.createElement("div");
  line.className = "line column-labels";
  line.style.setProperty("--row", 0);
  line.setAttribute("aria-hidden", "true");
  for (const text of ["", ...across.map((c) => board.column_labels[c])]) {
    const label = document.createElement("span");
    label.textContent = text;
    line.append(label);
  }
  return line;
}

function edges(r, c, rows, columns) {
  return [r === 0 && "top", r === rows - 1 && "bottom", c === 0 && "left", c === columns - 1 && "right"].filter(Boolean).join(" ");
}

export function drawPiece(board, piece) {
  const span = document.createElement("span");
  const owner = board.owners[piece];
  const colour = owner === undefined ? "nobody" : board.colours[owner] ?? `player${owner}`;
  span.className = `piece ${board.style} ${colour}`;
  span.setAttribute("aria-hidden", "true");
  if (board.style === "chess") span.textContent = CHESS[piece.toLowerCase()] + "\ufe0e";
  else if (board.style === "numbers") {
    span.textContent = piece;
    span.style.setProperty("--level", Math.min(11, Math.log2(Number(piece) || 1)));
    span.dataset.digits = piece.length;
  } else if (board.style === "marks") span.textContent = MARKS[piece.toLowerCase()] ?? piece;
  else if (owner === undefined || piece !== board.symbols[owner]) span.textContent = owner === undefined ? piece : king(piece);
  return span;
}

// A second kind of piece of the same player: a king in checkers; in hex, a stone joined to an edge.
function king(piece) { return /[a-z]/i.test(piece) ? "" : "♛\ufe0e"; }

function describe(board, r, c, piece, playable, isSelected) {
  const column = board.column_labels[c] ?? c + 1, row = board.row_labels[r] ?? r + 1;
  const name = board.column_labels.length && !/^\d/.test(column) ? `${column}${row}` : `row ${row}, column ${column}`;
  return `${name}: ${piece || "empty"}${isSelected ? ", chosen" : ""}${playable ? ", can be played" : ""}`;
}

// How often the search visited each move, on the cell that it ends on.
function markThoughts(element, board, thoughts) {
  const visits = new Map();
  for (const move of thoughts.moves) {
    const touched = board.touched[move.action];
    if (!touched || !move.visits) continue;
    const key = String(touched[1]);
    visits.set(key, (visits.get(key) ?? 0) + move.visits);
  }
  const best = board.touched[thoughts.action];
  for (const [key, count] of visits) {
    const cell = element.querySelector(`[data-cell="${key}"]`);
    const mark = document.createElement("span");
    mark.className = "mark";
    mark.setAttribute("aria-hidden", "true");
    mark.textContent = `${Math.round((100 * count) / thoughts.simulations)}`;
    mark.style.setProperty("--share", count / thoughts.simulations);
    if (best && String(best[1]) === key) mark.classList.add("best");
    cell.append(mark);
  }
  if (best?.[0]) element.querySelector(`[data-cell="${best[0]}"]`).classList.add("from-best");
}

export function boardKeys(element) {
  element.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const from = event.target.closest?.("[data-cell]");
    if (!step || !from || element.classList.contains("tray")) return;
    const [r, c] = from.dataset.cell.split(",").map(Number), sign = element.dataset.turned ? -1 : 1;
    const to = element.querySelector(`[data-cell="${r + sign * step[0]},${c + sign * step[1]}"]`);
    event.preventDefault();
    if (!to) return;
    from.tabIndex = -1;
    to.tabIndex = 0;
    focused = to.dataset.cell;
    to.focus();
  });
}
