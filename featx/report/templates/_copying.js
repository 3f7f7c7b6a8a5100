// Buttons marked data-copy copy the text of the element that they name; where the browser forbids it, it is selected.
document.querySelectorAll("button[data-copy]").forEach(button => {
  const source = document.getElementById(button.dataset.copy), label = button.textContent;
  const say = words => { button.textContent = words; setTimeout(() => { button.textContent = label; }, 2000); };
  button.hidden = false;
  button.addEventListener("click", () => {
    const select = () => { getSelection().selectAllChildren(source); say("Selected: copy it with Ctrl+C"); };
    if (!navigator.clipboard) select();
    else navigator.clipboard.writeText(source.innerText).then(() => say("Copied"), select);
  });
});
