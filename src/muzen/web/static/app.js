// The page: asks the server for the game, draws it, and says what the person chose. The server decides everything.

import { boardKeys, drawBoard, drawPiece, unselect } from "/board.js";
import { COLOURS, drawBalance, drawChart } from "/charts.js";

const $ = (id) => document.getElementById(id);
const STORE = "muzen-game", RETRY_MS = 2000, MOST_SHOWN = 12;

let game = null;      // the server's last word
let place = null;     // the position that is shown, with what the agent thinks of it
let view = null;      // the ply that is looked back at; null follows the game
let turned = null;    // whether the board is seen from the other side; null: as suits the person's pieces
let busy = "";        // what is waited for
let stuck = false;    // whether the last question was refused, so that the next step is the person's to ask for
let wanted = {};      // settings that were chosen while something was waited for
let among = null;     // the moves between which the person is choosing
let asked = 0;        // numbers the questions about positions: an old answer is not shown

class Refused extends Error {
  constructor(status, body) {
    super(body?.error?.message ?? `the server answered ${status}`);
    this.status = status;
    this.game = body?.game;
  }
}

// --- the server ------------------------------------------------------------------------------------------------
async function ask(method, path, body) {
  const options = { method, cache: "no-store" };
  if (body !== undefined) Object.assign(options, { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  for (;;) {
    let response;
    try {
      response = await fetch(`/api/games${path}`, options);
    } catch {
      gone();
      await new Promise((wake) => setTimeout(wake, RETRY_MS));
      continue; // every question can be asked again: `version` keeps a move from being made twice
    }
    if (!$("banner").hidden && $("banner").dataset.kind === "gone") say("");
    const answer = await response.json().catch(() => null);
    if (response.ok) return answer;
    throw new Refused(response.status, answer);
  }
}

function gone() {
  say("The server does not answer. Your game is safe in this page: start “muzen play … --web” again with the same flags, and it goes on.", "gone");
}

// One thing at a time; whatever is refused is said, and the game is drawn as the server has it.
async function act(label, question) {
  if (busy) return;
  busy = label;
  stuck = false;
  drawStatus();
  document.body.classList.add("busy");
  try {
    adopt(await question());
  } catch (error) {
    await recover(error);
  } finally {
    busy = "";
    document.body.classList.remove("busy");
    if (game) draw(); // the board takes moves again, whatever the agent thinks of them meanwhile
  }
  if (!game) return;
  if (Object.keys(wanted).length) sendSettings();
  else if (!stuck) follow();
  else if (!game.agents_turn || game.seat === null) think(false);
}

// What was refused would be refused again: the page asks for nothing by itself, unless it has the game anew.
async function recover(error) {
  if (!(error instanceof Refused)) throw error;
  if (error.game && isNews(error.game)) {
    adopt(error.game);
    say("The game has moved on in another page.", "note");
  } else if (error.status === 404 && game) {
    const kept = game;
    try {
      adopt(await goOn());
    } catch (again) {
      if (!(again instanceof Refused)) throw again;
      stuck = true;
      return say(`The server had lost the game, and could not bring it back: ${again.message}`, "error");
    }
    if (game.asked === kept.asked) say("The server had lost the game, and it was brought back. Please try again.", "note");
  } else {
    stuck = true;
    say(error.message, "error");
  }
}

function isNews(state) { return !game || ["id", "version", "seat", "simulations", "kept"].some((name) => state[name] !== game[name]); }

// After the server was started anew: the same game, or a fresh one where it was started for something else.
async function goOn() {
  const { asked } = await ask("GET", "");
  if (asked === game.asked) return restore();
  say("The server was started anew for something else: this is a new game.", "note");
  return ask("POST", "", {});
}

function restore() {
  const { seat, simulations, seed } = game;
  const moves = game.moves.filter((move) => move.player >= 0).map((move) => move.action);
  return ask("POST", "", { seat, simulations, seed, moves });
}

function adopt(state) {
  const before = game;
  game = state;
  if (!before || before.id !== state.id || before.version !== state.version) { view = among = null; unselect(); }
  try { localStorage.setItem(STORE, JSON.stringify(state)); } catch { /* a private window keeps nothing */ }
  history.replaceState(null, "", `#${state.id}`);
  draw();
}

// What comes after something has happened: the agent's move, or its thoughts on the person's turn.
function follow() {
  if (busy) return;
  if (game.agents_turn && game.seat !== null) {
    reply();
  } else {
    think();
  }
}

function reply() {
  act("The agent thinks …", () => ask("POST", `/${game.id}/reply`, { version: game.version }));
}

// Which position's thoughts are shown: the one looked back at, the present one, or the agent's last.
function thinkingPly() {
  if (view !== null) return view;
  if (!game.over && ($("hints").checked || game.seat === null)) return game.ply;
  for (let i = game.moves.length - 1; i >= 0; i--) {
    const move = game.moves[i];
    if (move.player >= 0 && move.player !== game.seat) return move.ply - 1;
  }
  return null;
}

async function think(recovers = true) {
  const number = ++asked, ply = thinkingPly();
  $("thoughts").ariaBusy = String(ply !== null); // until it is answered, what is shown is of another position
  if (ply === null) { place = null; return drawThoughts(); }
  try {
    const answer = await ask("GET", `/${game.id}/positions/${ply}`);
    if (number !== asked || busy) return;
    place = answer;
    game.chances = answer.chances;
    $("thoughts").ariaBusy = "false";
    draw();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (number !== asked) return;
    $("thoughts").ariaBusy = "false";
    if (error.game && isNews(error.game)) { adopt(error.game); follow(); }
    else if (recovers && error.status === 404) act("Bringing the game back …", goOn);
    else say(error.message, "error");
  }
}

// --- what is drawn ---------------------------------------------------------------------------------------------
function say(text, kind = "") {
  $("banner").textContent = text;
  $("banner").dataset.kind = kind;
  $("banner").hidden = !text;
}

function shown() { return view !== null && place?.ply === view ? place : game; }

function draw() {
  $("title").textContent = `${game.game.replace("openspiel:", "")} · ${game.agent}`;
  document.title = `Muzen: ${game.game.replace("openspiel:", "")}`;
  drawStatus();
  drawGame();
  drawControls();
  drawChances();
  drawThoughts();
  drawMoves();
}

function isMyTurn() { return !busy && view === null && !game.over && game.to_play === game.seat; }

function statusText() {
  if (busy) return busy;
  if (game.over) return `${game.outcome}.`;
  if (game.seat === null) return `${game.players[game.to_play]} is to move: the agent plays alone.`;
  if (among && isMyTurn()) return "Which of these?";
  return game.to_play === game.seat ? `Your move: you are ${game.players[game.seat]}.` : `${game.players[game.to_play]} is to move.`;
}

function drawStatus() {
  const status = $("status");
  status.textContent = game ? statusText() : busy || "Loading …";
  status.classList.toggle("over", Boolean(game?.over && !busy));
  if (game?.board && !game.over && !busy && game.players.length > 1) {
    const symbol = game.board.symbols[game.to_play];
    if (symbol && game.board.style !== "chess") status.prepend(Object.assign(drawPiece(game.board, symbol), { ariaHidden: "true" }));
  }
  const rolled = game ? game.moves.slice(-6) : [];
  const chance = [];
  for (let i = rolled.length - 1; i >= 0 && rolled[i].player < 0; i--) chance.unshift(rolled[i].name);
  if (chance.length && !busy) {
    const note = document.createElement("span");
    note.className = "rolled";
    note.textContent = chance.join(", ");
    status.append(" ", note);
  }
  $("review").hidden = view === null;
  if (view !== null) $("review-text").textContent = view === 0 ? "Looking at the start" : `Looking at move ${view} of ${game.ply}`;
}

// What has buttons is drawn again only where it differs: one that is replaced while it is pressed is never clicked.
const drawn = {};

function isDrawn(name, ...what) {
  const now = JSON.stringify(what), before = drawn[name];
  drawn[name] = now;
  return now === before;
}

function drawGame() {
  const thoughts = $("marks").checked && place?.ply === (view ?? game.ply) ? place.analysis : null;
  if (isDrawn("game", shown().board, shown().text, shown().legal, isMyTurn(), view, thoughts, game.over, game.seat, turned, among)) return;
  const at = shown(), names = new Map(at.legal.map((move) => [move.action, move.name]));
  $("board-frame").hidden = !at.board;
  $("text").hidden = Boolean(at.board);
  if (at.board) {
    drawBoard($("board"), at.board, { playable: isMyTurn(), onMove: play, thoughts, names, turned: isTurned(at.board) });
  } else {
    $("text").textContent = at.text.trimEnd();
  }
  const others = at.legal.filter((move) => !at.board || !(move.action in at.board.touched));
  if (among) drawChoices(among, isMyTurn(), true);
  else drawChoices(others, isMyTurn(), !at.board || others.length === at.legal.length);
}

function isTurned(board) { return turned ?? (board.style === "chess" && game.seat === board.owners.p); }

// Moves that are no cells: buttons, with number keys where there is nothing else to press.
function drawChoices(moves, playable, numbered) {
  const element = $("choices");
  const had = element.contains(document.activeElement) ? document.activeElement.dataset.action : null;
  element.textContent = "";
  if (view !== null || game.over || game.seat === null) return;
  moves.forEach((move, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = move.name;
    button.dataset.action = move.action;
    button.disabled = !playable;
    if (numbered && moves.length < 10) { button.dataset.key = i + 1; button.title = `Key: ${i + 1}`; }
    button.addEventListener("click", () => play([move.action]));
    element.append(button);
  });
  if (had !== null) element.querySelector(`[data-action="${had}"]`)?.focus();
}

function drawControls() {
  $("back").disabled = Boolean(busy) || game.ply === 0;
  $("new").disabled = $("save").disabled = $("next").disabled = Boolean(busy);
  $("save").hidden = game.over || game.ply === 0;
  $("turn").hidden = !game.board?.moves_pieces;
  $("next").hidden = game.over || (game.seat !== null && !(stuck && game.agents_turn));
  $("next").textContent = game.seat === null ? "Next move" : "Ask the agent again";
  const seat = $("seat"), seats = game.players.map((name, i) => [String(i), name]).concat([["watch", "nobody: watch"]]);
  if (seats.some(([, text], i) => seat.options[i]?.text !== text) || seat.options.length !== seats.length) {
    seat.replaceChildren(...seats.map(([value, text]) => new Option(text, value)));
  }
  const chosen = { seat: game.seat, simulations: game.simulations, ...wanted };
  seat.value = chosen.seat === null ? "watch" : String(chosen.seat);
  if (document.activeElement !== $("simulations")) $("simulations").value = chosen.simulations;
  $("simulations").max = game.most_simulations;
  $("kept").textContent = game.keep_error ? `Not kept: ${game.keep_error}` : game.kept ? `Kept in ${game.kept}` : "";
}

function drawChances() {
  const known = game.chances.some(Boolean);
  $("chance-card").hidden = !known;
  if (!known) return;
  const upTo = view ?? game.ply;
  const latest = game.chances.slice(0, upTo + 1).filter(Boolean).at(-1) ?? null;
  drawBalance($("balance"), game, latest);
  drawChart($("chart"), game, game.chances, upTo, lookAt);
}

function points(value) { return Math.abs(value) < 100 ? value.toPrecision(3) : Math.round(value).toLocaleString("en"); }

function percent(share) { return `${Math.round(100 * share)} %`; }

function drawThoughts() {
  const thought = place?.analysis ?? null, body = $("thoughts").tBodies[0];
  $("marks-label").hidden = !game.board || !Object.keys(game.board.touched).length;
  $("thoughts").hidden = !thought;
  if (!thought) {
    $("worth").textContent = game.over && view === null ? "The game is over." : view !== null ? "The game was over here." : "Nothing yet.";
    $("line").textContent = "";
    body.textContent = "";
    return;
  }
  const when = place.ply === game.ply ? "now" : place.ply === 0 ? "at the start" : `after move ${place.ply}`;
  const worth = thought.chance ? "" : ` · still to come: ${thought.value.map(points).join(", ")}`;
  $("worth").textContent = `${game.players[thought.to_play]} to move ${when} · ${thought.simulations} simulations${worth}`;
  $("value-head").textContent = thought.chance ? "Win" : "Value";
  $("value-head").classList.toggle("number", !thought.chance);
  const most = Math.max(1, ...thought.moves.map((move) => move.visits));
  body.textContent = "";
  for (const move of thought.moves.slice(0, MOST_SHOWN)) {
    const row = body.insertRow();
    row.classList.toggle("chosen", move.action === thought.action);
    const name = document.createElement("th");
    name.scope = "row";
    name.textContent = move.name;
    row.append(name);
    row.append(bar(move.visits / most, String(move.visits), "visits"));
    const value = move.chance !== null ? percent(move.chance) : move.q !== null ? points(move.q) : "–";
    row.append(move.chance !== null ? bar(move.chance, value, "win") : plain(value));
    row.append(plain(percent(move.policy)));
  }
  if (thought.moves.length > MOST_SHOWN) {
    const cell = body.insertRow().insertCell();
    cell.colSpan = 4;
    cell.className = "note";
    cell.textContent = `${thought.moves.length - MOST_SHOWN} more moves`;
  }
  $("line").textContent = "";
  $("line").append("Expects ", ...thought.line.map((name) => Object.assign(document.createElement("b"), { textContent: name })).flatMap((b) => [b, " "]));
}

function bar(share, text, kind) {
  const cell = document.createElement("td");
  const track = document.createElement("span"), fill = document.createElement("span"), label = document.createElement("span");
  track.className = `bar ${kind}`;
  fill.style.width = `${100 * share}%`;
  label.textContent = text;
  track.append(fill, label);
  cell.append(track);
  return cell;
}

function plain(text) { return Object.assign(document.createElement("td"), { textContent: text, className: "number" }); }

function drawMoves() {
  const list = $("moves");
  if (isDrawn("moves", game.id, game.moves, view, game.seat)) return;
  list.textContent = "";
  for (const move of game.moves) {
    const item = document.createElement("li");
    if (move.player < 0) {
      item.className = "chance-move";
      item.textContent = move.name;
    } else {
      const button = document.createElement("button");
      button.type = "button";
      button.className = `played player${move.player % COLOURS}`;
      button.textContent = move.name;
      button.title = `${move.ply}. ${game.players[move.player]}, ${move.player === game.seat ? "you" : "the agent"}`;
      if (move.ply === (view ?? game.ply)) button.setAttribute("aria-current", "true");
      button.addEventListener("click", () => lookAt(move.ply));
      item.append(button);
    }
    list.append(item);
  }
  list.scrollTop = list.scrollHeight;
}

// --- what the person does --------------------------------------------------------------------------------------
function play(actions) {
  if (!isMyTurn()) return;
  if (actions.length > 1) return chooseAmong(actions);
  say("");
  among = null;
  act("…", () => ask("POST", `/${game.id}/move`, { action: actions[0], version: game.version }));
}

// Several moves with the same cells, such as a promotion: ask by name.
function chooseAmong(actions) {
  among = game.legal.filter((move) => actions.includes(move.action));
  draw();
  $("choices").querySelector("button").focus();
}

function lookAt(ply) {
  if (busy) return;
  view = ply === game.ply ? null : ply;
  among = null;
  draw();
  think();
}

// What was begun is an entry of the browser's history: Back brings it back.
async function newGame() {
  const before = game;
  view = null;
  say("");
  await act("Setting up …", () => {
    if (before) history.pushState(null, "", location.hash);
    return ask("POST", "", before ? { seat: before.seat, simulations: before.simulations } : {});
  });
  const begun = before && !before.over && before.moves.some((move) => move.player === before.seat);
  if (begun && game.id !== before.id) say("The game before is not lost: your browser's “Back” returns to it.", "note");
}

// What is chosen while something is waited for is sent when that is there.
function settings(fields) {
  Object.assign(wanted, fields);
  if (busy) return;
  say("");
  sendSettings();
}

function sendSettings() {
  act("…", () => { const sent = wanted; wanted = {}; return ask("POST", `/${game.id}/settings`, sent); });
}

$("new").addEventListener("click", newGame);
$("back").addEventListener("click", () => { say(""); act("…", () => ask("POST", `/${game.id}/back`, { version: game.version })); });
$("save").addEventListener("click", () => act("…", () => ask("POST", `/${game.id}/save`, {})));
$("next").addEventListener("click", () => { say(""); reply(); });
$("turn").addEventListener("click", () => { turned = !isTurned(game.board); drawGame(); });
$("live").addEventListener("click", () => lookAt(game.ply));
$("hints").addEventListener("change", () => think());
$("marks").addEventListener("change", () => drawGame());
$("settings").addEventListener("submit", (event) => event.preventDefault());
$("seat").addEventListener("change", () => settings({ seat: $("seat").value === "watch" ? null : Number($("seat").value) }));
$("simulations").addEventListener("change", () => {
  const simulations = Number($("simulations").value);
  if (Number.isInteger(simulations)) settings({ simulations });
  else say("Simulations: a whole number, please.", "error");
});

const STEERING = { ArrowUp: "up", ArrowDown: "down", ArrowLeft: "left", ArrowRight: "right" };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
  const steered = game?.legal.find((move) => move.name.toLowerCase() === STEERING[event.key]);
  const numbered = document.querySelector(`#choices [data-key="${CSS.escape(event.key)}"]:enabled`);
  if (steered && isMyTurn()) { event.preventDefault(); play([steered.action]); }
  else if (numbered) numbered.click();
  else if (event.key === "Escape") { unselect(); among = null; drawn.game = ""; if (view !== null) lookAt(game.ply); else if (game) drawGame(); }
  else if (event.key === "u" && game && !$("back").disabled) $("back").click();
  else if (event.key === "n" && game) $("new").click();
  else if (event.key === "," && game) lookAt(Math.max(0, (view ?? game.ply) - 1));
  else if (event.key === "." && game) lookAt(Math.min(game.ply, (view ?? game.ply) + 1));
});
boardKeys($("board"));

function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
}
try { theme(localStorage.getItem("muzen-theme")); } catch { /* as the system has it */ }
$("theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
  theme(dark ? "light" : "dark");
  try { localStorage.setItem("muzen-theme", dark ? "light" : "dark"); } catch { /* for this time only */ }
});

// Another tab may have moved while this one was hidden, or may be moving now.
async function refresh() {
  if (!game || busy || document.hidden) return;
  const seen = game;
  try {
    const state = await ask("GET", `/${game.id}`);
    if (busy || game !== seen) return;
    if (isNews(state)) { adopt(state); follow(); }
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 404) act("Bringing the game back …", goOn);
  }
}
document.addEventListener("visibilitychange", refresh);
addEventListener("storage", (event) => { if (event.key === STORE) refresh(); });
addEventListener("popstate", () => {
  const id = location.hash.slice(1);
  if (!game || !id || id === game.id) return;
  say("");
  act("Loading …", async () => {
    try {
      return await ask("GET", `/${id}`);
    } catch (error) {
      if (error.status !== 404) throw error;
      say("That game is no longer there.", "note");
      return ask("GET", `/${game.id}`);
    }
  });
});

// --- the beginning: the game of the address, the one this browser played last, or a new one ------------------
async function begin() {
  let kept = null;
  try { kept = JSON.parse(localStorage.getItem(STORE)); } catch { /* nothing to go on with */ }
  const id = location.hash.slice(1) || kept?.id;
  if (!/^[\w-]{1,64}$/.test(id ?? "")) return newGame();
  await act("Loading …", async () => {
    try {
      return await ask("GET", `/${id}`);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
    }
    if (kept?.id === id) {
      game = kept;
      try { return await goOn(); } catch (error) { if (!(error instanceof Refused)) throw error; }
      game = null; // a game of another agent
    }
    return ask("POST", "", {});
  });
}
begin();
