"use strict";
// A click on a picture plays the clip in its place, from its second to its end. Without this script
// the link itself opens the video there.
function player(link) {
  const start = Number(link.dataset.start), end = Number(link.dataset.end);
  if (link.dataset.player === "youtube") {
    const frame = document.createElement("iframe");
    frame.src = link.href;
    frame.allow = "autoplay; fullscreen";
    frame.title = link.querySelector("img").alt;
    return frame;
  }
  const video = document.createElement("video");
  video.controls = true;
  video.src = link.href;
  video.title = link.querySelector("img").alt;
  video.addEventListener("loadedmetadata", () => { video.currentTime = start; video.play(); }, {once: true});
  video.addEventListener("timeupdate", function stop() {
    if (video.currentTime >= end) { video.pause(); video.removeEventListener("timeupdate", stop); }
  });
  return video;
}
for (const link of document.querySelectorAll("a.still")) {
  link.addEventListener("click", event => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const shown = player(link);
    link.replaceWith(shown);
    shown.focus();
  });
}
